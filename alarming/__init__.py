"""Alarms: actors report conditions to the alarm actor, which raises, counts, clears and hands on alarms.

May import supervision and persistence. Begin with `actor.py`; `register.py` decides, `dispatcher.py` carries out.
"""
