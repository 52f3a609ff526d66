"""Mutated samples for parsers of foreign bytes: no input may crash one, hang it, or let memory grow without end."""

import logging
import os
import resource
import time
from collections.abc import Callable

import hypothesis
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("BILLINGD_FUZZ", "2000"))
SEED = int(os.environ.get("BILLINGD_TEST_SEED", "20261125"))
TIMEOUT_SECONDS = 0.3 * EXAMPLES  # of a parser's whole test
SECONDS_AT_MOST = 10.0
GROWTH_BYTES_AT_MOST = 400_000_000

# What parsers have stumbled over.
TOKENS = [
    b"", b"\0", b"\n", b"\r\n", b",", b":", b"'", b'"', b"\\", b"[", b"]", b"{", b"}", b"[" * 3000, b'{"a":' * 3000,
    b"&a ", b"*a", b"!!python/object:os.system ", b"- ", b"? ", b"| ", b"%00", b"%ff", b"\xff", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"\x1b[2J", b"\xc2\x9b", b"\xe2\x80\xae", b"1e400", b"-1", b"9" * 5000, b"NaN", b"Infinity",
    b"null", b"true", b"0x1f", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:45:00Z", b"2026-02-30", b"..", b"@", b"#",
    b"\xd9\xa1", b"\xb2", b"Transfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n", b"ffffffffffffffff\r\n",
    b"\x1f\x8b\x08", b"A" * 20_000,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample with a few of its bytes left out, doubled, moved, or taken by something that parsers stumble over."""
    content = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(content)))
        end = begin + draw(st.sampled_from([0, 0, 1, 2, 8, 64, 1_000_000]))
        what = draw(st.integers(0, 3))
        if what == 0:
            new = draw(st.sampled_from(TOKENS))
        elif what == 1:
            new = content[begin:end] * 2
        elif what == 2:
            new = draw(st.binary(max_size=4))
        else:
            place = draw(st.integers(0, len(content)))
            new = content[place : place + 40]
        content = content[:begin] + new + content[end:]
    return content


def fuzz(samples: list[bytes], parse: Callable[[bytes], object]) -> None:
    """Parses the samples and EXAMPLES inputs. Raises what `parse` raises, and AssertionError for a limit exceeded."""
    print(f"seed {SEED}, {EXAMPLES} inputs")
    for sample in samples:
        parse(sample)
    longest, began = 0.0, time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(mutated(samples) | st.binary(max_size=200))
    def check(content: bytes) -> None:
        nonlocal longest
        begun = time.process_time()  # on a busy machine seconds of the clock are no hang
        parse(content)
        longest = max(longest, time.process_time() - begun)

    logging.disable(logging.CRITICAL)  # what is logged of each input would be kept for the report
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(f"{time.monotonic() - began:.1f} s, the longest {longest:.2f} s, {grown / 1e6:.0f} MB more")
    assert longest < SECONDS_AT_MOST
    assert grown < GROWTH_BYTES_AT_MOST
