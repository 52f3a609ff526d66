"""What each alarm code says to people, in English."""

from collections.abc import Mapping
from typing import Final

from alarming.texts import Text

_GOES_ON = "billing goes on by itself when it returns"

ENGLISH: Final[Mapping[str, Text]] = {
    "database_unreachable": Text(
        title="The database cannot be reached",
        meaning="There is no connection to PostgreSQL, or one that does not answer.",
        effect="Nothing is calculated and nothing is sent; what was under way waits in the database.",
        meanwhile=_GOES_ON,
        action="See with `billingd status` which server is meant and since when; start the server, or mend"
        " the network, the address (`database.url`) or the password (`database.password_file`). Nothing has to "
        "be restarted here.",
        cleared_by="The next answer of the database.",
    ),
    "database_error": Text(
        title="The database refuses statements",
        meaning="PostgreSQL is reached, but statements fail: no privilege, read only, a lock that is held,"
        " a full disk, a missing table or another schema.",
        effect="The part of billing that needs the statement waits; the summary says which and why.",
        meanwhile="it is tried again with growing pauses",
        action="Read the reason in `billingd alarms list`. For a schema that is missing or older run "
        "`billingd db upgrade`; otherwise mend the server (disk, privileges, the session that holds the lock).",
        cleared_by="The next success of the part that failed.",
    ),
    "erp_unreachable": Text(
        title="The ERP cannot be reached",
        meaning="Altibiz does not answer: refused, timed out, cut, name not found or TLS not accepted.",
        effect="Invoices are calculated and wait to be sent; none is lost and none is sent twice.",
        meanwhile=_GOES_ON,
        action="Try the address `erp.base_url` (shown by `billingd config show`) from this machine; mend "
        "the network, the name or the certificate (`erp.ca_file`), or call whoever runs Altibiz.",
        cleared_by="The next answer of the ERP.",
    ),
    "erp_error": Text(
        title="The ERP answers with errors",
        meaning="Altibiz answers 5xx or 429, or in a way that its contract does not know (a redirect, a "
        "wrong address).",
        effect="The invoices that it answers so wait; nothing is taken from such an answer.",
        meanwhile="it is tried again with growing pauses",
        action="The summary names URL and status. If that is not Altibiz, mend `erp.base_url`; else call "
        "whoever runs Altibiz. `billingd invoices show ID` lists what it answered.",
        cleared_by="The next proper answer of the ERP.",
    ),
    "erp_credentials": Text(
        title="The ERP does not accept our credentials",
        meaning="Altibiz answers 401 or 403.",
        effect="Nothing is sent; invoices are calculated and wait. No invoice is held for it.",
        meanwhile="one request now and then tries whether it is mended",
        action="Put a valid token into the file `erp.token_file` and run `systemctl reload billingd` (or "
        "send SIGHUP); if the token is right, have Altibiz permit it.",
        cleared_by="The next answer of the ERP that is neither 401 nor 403.",
    ),
    "erp_trust_unusable": Text(
        title="The files that the ERP is trusted by cannot be used",
        meaning="`erp.ca_file`, the system's certificates or `erp.token_file` cannot be read or hold nothing of use. "
        "No secure connection can be made.",
        effect="Nothing is sent; invoices are calculated and wait. No invoice is held for it.",
        meanwhile="it is tried again with growing pauses",
        action="The summary names file and reason. Put the file right (path, owner, content); `billingd check-config` "
        "tries it. Then run `systemctl reload billingd`, or wait for the next try.",
        cleared_by="The next time that the files can be used.",
    ),
    "erp_incorrect_data": Text(
        title="The ERP sends what cannot be trusted",
        meaning="An answer says nothing about an invoice, or something that cannot be true of it: another "
        "invoice's id, another total, a booking that is doubled or changed.",
        effect="Nothing is taken from such an answer. The invoices concerned wait, or are held.",
        meanwhile="it is asked again with growing pauses; other invoices go on",
        action="Compare with `billingd reconcile` and `billingd invoices show ID`, and have Altibiz mend "
        "it. An invoice that is held goes on with `billingd invoices retry ID`. Once Altibiz has nothing of it, or has "
        "aborted it, it can end instead: with `billingd invoices correct ID` or `billingd invoices waive ID`.",
        cleared_by="A proper answer about the same invoice; of held ones: when the last is held no longer.",
    ),
    "erp_refused_invoice": Text(
        title="The ERP refuses invoices",
        meaning="Altibiz answers 400, 413 or 422. With the instance as its key it refuses all that is offered.",
        effect="The invoices named are held, others go on. If all are refused, all wait and none is held.",
        meanwhile="what is refused is held; where all are refused one is tried now and then",
        action="Read the reason with `billingd invoices show ID`; mend the master data (`billingd import "
        "master FILE`) or have Altibiz mend theirs. A held invoice then needs `billingd invoices retry ID` (the same "
        "content), or `billingd invoices correct ID` (a new revision); one that waits goes on by itself.",
        cleared_by="When no invoice of the period is held for it; with the instance as key: when one is taken.",
    ),
    "erp_conflict": Text(
        title="The ERP has an invoice with other content",
        meaning="Altibiz answers 409: it has the id already, with other content than ours.",
        effect="The invoices named are held; nothing is overwritten. Others go on.",
        meanwhile="others go on",
        action="`billingd reconcile` shows both totals, `billingd invoices explain ID` how ours came about: "
        "somebody has to say which is right. If ours is right, have Altibiz put theirs right or remove it, then "
        "`billingd invoices retry ID`. If ours is wrong, have Altibiz remove or abort theirs, mend the data, then "
        "`billingd invoices correct ID`, which is refused as long as Altibiz has theirs.",
        cleared_by="When no invoice of the period is held for it.",
    ),
    "invoice_aborted": Text(
        title="The ERP aborted invoices",
        meaning="Altibiz has refused an invoice for good; its reason is kept with the invoice.",
        effect="The network users named have no valid invoice for the period.",
        meanwhile="nothing more is done about it",
        action="Read the reason with `billingd invoices show ID`, mend what it names, then `billingd "
        "invoices correct ID`. If it shall stay so, `billingd alarms ack ID`.",
        cleared_by="A person only: a correction, or the acknowledgement.",
    ),
    "invoice_overdue": Text(
        title="Invoices wait for too long",
        meaning="Invoices stand longer than `alarms.overdue_seconds` in a state that is not final, and no "
        "other alarm says why.",
        effect="These network users have no booked invoice yet.",
        meanwhile="it is tried on",
        action="See with `billingd invoices show ID` what each waits for. In `calculated` it may be an "
        "approval; in `initiated` the verdict of Altibiz is due: call whoever runs it.",
        cleared_by="When the last of them has moved on.",
    ),
    "readings_incomplete": Text(
        title="Readings are missing",
        meaning="Past `billing.readings_grace_seconds`, invoices of a closed period still lack readings of a meter.",
        effect="These invoices stay due; nothing is estimated and nothing billed as zero.",
        meanwhile="each goes on by itself when its readings arrive",
        action="`billingd invoices list --period YYYY-MM --state due` and `billingd invoices show ID` say "
        "which meter lacks what; get the readings and `billingd import readings FILE`.",
        cleared_by="When the last of them is calculated.",
    ),
    "readings_inconsistent": Text(
        title="Readings contradict each other",
        meaning="Past `billing.readings_grace_seconds`, a register of a meter falls within a closed period.",
        effect="The invoices concerned stay due.",
        meanwhile="each goes on by itself when its readings are replaced",
        action="`billingd invoices show ID` names meter and instant. Find out what is right (a meter "
        "exchanged, a wrong value) and `billingd import readings --replace --reason TEXT FILE`.",
        cleared_by="When the last of them is calculated.",
    ),
    "energy_already_billed": Text(
        title="The same energy would be billed twice",
        meaning="A meter's energy of the same time is in another invoice that is not aborted: the meter was moved to "
        "another network user after that one was calculated.",
        effect="The invoices named stay due; the others, which came first, go on.",
        meanwhile="each goes on by itself when the other one no longer bills that meter",
        action="`billingd invoices show ID` names the meter and the other invoice. Decide who has to pay. If the "
        "master data is wrong, `billingd import master FILE`. If the other invoice is wrong, replace or end it: "
        "`billingd invoices correct OTHER` once it is booked, or `billingd invoices waive OTHER` before it is sent. If "
        "this one is not needed, `billingd invoices waive ID`.",
        cleared_by="When the last of them is calculated or waived.",
    ),
    "inputs_unreadable": Text(
        title="The data of an invoice cannot be read",
        meaning="The database did not give the readings or master data of these invoices: each was tried alone, and "
        "failed or took longer than `database.statement_timeout_seconds`.",
        effect="The invoices named stay due; all others go on.",
        meanwhile="each is tried again with growing pauses",
        action="`billingd invoices show ID` has the database's own words. Mend the database (a damaged page or index, "
        "a statement that is too slow) or raise `database.statement_timeout_seconds`; `billingd doctor` looks at the "
        "rest.",
        cleared_by="When the last of them is calculated.",
    ),
    "poison_invoice": Text(
        title="Working on an invoice fails again and again",
        meaning="Whoever worked on these invoices crashed, hung, or was refused by the database, "
        "`work.max_attempts` times, while others passed.",
        effect="The invoices named are held; all others go on.",
        meanwhile="others go on",
        action="`billingd invoices show ID` has the error: report it as a defect. After an update or a "
        "change of the master data `billingd invoices retry ID`; if it was never sent, `billingd invoices waive"
        " ID` ends it.",
        cleared_by="When no invoice of the period is held for it.",
    ),
    "delivery_paused": Text(
        title="Delivery to the ERP is paused",
        meaning="Somebody has paused delivery, as for the ERP's maintenance; the summary says who, why and until when.",
        effect="Invoices are calculated and wait; nothing new is offered to the ERP and nothing is asked of it.",
        meanwhile="delivery goes on by itself at the end of the pause",
        action="If the reason is over, run `billingd resume`; if it lasts longer, `billingd pause --for 2h`.",
        cleared_by="The end of the pause.",
    ),
    "actor_crashed": Text(
        title="A part of the daemon crashed",
        meaning="A part of billingd met a defect in the program and was started anew.",
        effect="What it had in hand is taken up again; nothing is lost.",
        meanwhile="the part has been started anew",
        action="Nothing at once. Report the error of the summary (`journalctl -u billingd` has its trace) "
        "as a defect; `billingd status` shows whether it goes on crashing.",
        cleared_by="When the new one has worked well for `supervision.window_seconds`.",
    ),
    "actor_hung": Text(
        title="A part of the daemon hangs",
        meaning="A part of billingd was busy with one message for longer than `supervision.hang_seconds`, "
        "was written off, and another has taken its place.",
        effect="What it had in hand is taken up again by the new one; the old one can change nothing any more.",
        meanwhile="another has taken its place",
        action="Report it as a defect, with the stacks that `systemctl kill -s USR1 billingd` writes to "
        "the journal; `billingd status` shows whether it happens again.",
        cleared_by="When the new one has worked well for `supervision.window_seconds`.",
    ),
    "daemon_was_down": Text(
        title="The daemon was down",
        meaning="billingd was not running for a while; the summary says for how long, whether it had ended"
        " cleanly, and what it found open.",
        effect="What fell into that time is done now: no period is left out.",
        meanwhile="what was open is being taken up",
        action="If nobody stopped it, find out why it ended: `journalctl -u billingd` before the start. If"
        " it ends again and again, report the last error as a defect.",
        cleared_by="When what was open at the start is done.",
    ),
    "configuration_rejected": Text(
        title="The configuration file was not accepted",
        meaning="The file on disk has problems, or changes that only a restart brings: it is not what is in force.",
        effect="billingd goes on with the configuration that it had.",
        meanwhile="the configuration that it had stays in force",
        action="`billingd check-config` lists every problem with its line; mend it and `systemctl reload "
        "billingd`, or restart where the summary asks for that.",
        cleared_by="The next configuration that is accepted.",
    ),
    "instance_name_taken": Text(
        title="Another daemon has this one's name",
        meaning="The name (`instance`) is held by another session on the same database: a second daemon, "
        "or a dead one that the server still believes in.",
        effect="This daemon does no work yet.",
        meanwhile="it tries again and begins as soon as the name is free",
        action="If two daemons run, give each its own `instance` in the configuration. Otherwise wait a "
        "minute: the server finds out by itself that the old session is dead.",
        cleared_by="When the name is ours.",
    ),
    "unexpected_error": Text(
        title="An error that nobody foresaw",
        meaning="The daemon or one of its libraries logged an error for which there is no alarm and no rule.",
        effect="Unknown; the context says where it was raised and how often.",
        meanwhile="the daemon goes on",
        action="Read the record with `journalctl -u billingd -p err`; report it as a defect. If it is "
        "harmless, give it a rule under `alarms.rules`.",
        cleared_by="`alarms.quiet_seconds` without another.",
    ),
    "alarm_spool_unwritable": Text(
        title="Alarms cannot be kept on disk",
        meaning="The alarm spool in `state_dir` cannot be written: the disk is full or does not permit it.",
        effect="Alarms still reach the log and the database; one that stands might get another id if the "
        "daemon is killed meanwhile.",
        meanwhile="billing and alarms go on without it",
        action="Make room on, or give back access to, the file system of `state_dir` (shown by `billingd "
        "config show`).",
        cleared_by="The next write that succeeds.",
    ),
    "alarm_webhook_unreachable": Text(
        title="Alarms do not reach the webhook",
        meaning="The Alertmanager at `alarms.webhook_url` does not take alarms.",
        effect="Whoever is woken by it is not; log, database and `billingd alarms list` have all alarms.",
        meanwhile="it is tried again with growing pauses",
        action="See that the address (`alarms.webhook_url`) and the token (`alarms.webhook_token_file`) "
        "are right and that Alertmanager runs.",
        cleared_by="The next delivery that succeeds.",
    ),
}
