"""What each alarm code says to people, in Croatian."""

from collections.abc import Mapping
from typing import Final

from alarming.texts import Text

_GOES_ON = "obračun se sam nastavlja kad se vrati"

CROATIAN: Final[Mapping[str, Text]] = {
    "database_unreachable": Text(
        title="Baza podataka nije dostupna",
        meaning="Nema veze s PostgreSQL-om ili veza ne odgovara.",
        effect="Ništa se ne obračunava i ništa se ne šalje; što je bilo u tijeku čeka u bazi.",
        meanwhile=_GOES_ON,
        action="Naredba `billingd status` kaže koji je poslužitelj i otkad ga nema; pokrenite poslužitelj "
        "ili popravite mrežu, adresu (`database.url`) ili lozinku (`database.password_file`). Ovdje ništa ne "
        "treba ponovno pokretati.",
        cleared_by="Prvi sljedeći odgovor baze.",
    ),
    "database_error": Text(
        title="Baza podataka odbija naredbe",
        meaning="PostgreSQL je dostupan, ali naredbe ne uspijevaju: nema ovlasti, samo čitanje, zaključan "
        "redak, pun disk, nedostaje tablica ili je shema druga.",
        effect="Dio obračuna kojem ta naredba treba čeka; sažetak kaže koji i zašto.",
        meanwhile="pokušava se ponovno u sve duljim razmacima",
        action="Razlog stoji u `billingd alarms list`. Ako shema nedostaje ili je starija, pokrenite "
        "`billingd db upgrade`; inače popravite poslužitelj (disk, ovlasti, sesiju koja drži zaključano).",
        cleared_by="Sljedeći uspjeh dijela koji nije uspio.",
    ),
    "erp_unreachable": Text(
        title="ERP nije dostupan",
        meaning="Altibiz ne odgovara: veza odbijena, istekla ili prekinuta, ime nije nađeno ili TLS nije prihvaćen.",
        effect="Računi se obračunavaju i čekaju slanje; nijedan se ne gubi i nijedan se ne šalje dvaput.",
        meanwhile=_GOES_ON,
        action="S ovog računala isprobajte adresu `erp.base_url` (pokazuje je `billingd config show`); "
        "popravite mrežu, ime ili certifikat (`erp.ca_file`) ili nazovite one koji vode Altibiz.",
        cleared_by="Prvi sljedeći odgovor ERP-a.",
    ),
    "erp_error": Text(
        title="ERP odgovara greškama",
        meaning="Altibiz odgovara s 5xx ili 429, ili onako kako njegov ugovor ne poznaje (preusmjerenje, "
        "kriva adresa).",
        effect="Računi na koje tako odgovara čekaju; iz takva odgovora ništa se ne preuzima.",
        meanwhile="pokušava se ponovno u sve duljim razmacima",
        action="Sažetak navodi URL i status. Ako to nije Altibiz, popravite `erp.base_url`; inače nazovite"
        " one koji vode Altibiz. `billingd invoices show ID` navodi što je odgovorio.",
        cleared_by="Prvi sljedeći ispravan odgovor ERP-a.",
    ),
    "erp_credentials": Text(
        title="ERP ne prihvaća naše vjerodajnice",
        meaning="Altibiz odgovara s 401 ili 403.",
        effect="Ništa se ne šalje; računi se obračunavaju i čekaju. Nijedan zbog toga nije zadržan.",
        meanwhile="povremeno jedan zahtjev provjerava je li popravljeno",
        action="Stavite valjan token u datoteku `erp.token_file` i pokrenite `systemctl reload billingd` "
        "(ili pošaljite SIGHUP); ako je token ispravan, zatražite dopuštenje u Altibizu.",
        cleared_by="Prvi sljedeći odgovor ERP-a koji nije ni 401 ni 403.",
    ),
    "erp_trust_unusable": Text(
        title="Datoteke na kojima počiva povjerenje u ERP nisu upotrebljive",
        meaning="`erp.ca_file`, certifikati sustava ili `erp.token_file` ne mogu se čitati ili u njima nema ničeg "
        "upotrebljivog. Sigurna veza ne može se uspostaviti.",
        effect="Ništa se ne šalje; računi se obračunavaju i čekaju. Nijedan zbog toga nije zadržan.",
        meanwhile="pokušava se ponovno u sve duljim razmacima",
        action="Sažetak navodi datoteku i razlog. Ispravite datoteku (putanju, vlasnika, sadržaj); isprobava je "
        "`billingd check-config`. Zatim pokrenite `systemctl reload billingd` ili pričekajte sljedeći pokušaj.",
        cleared_by="Kad datoteke opet budu upotrebljive.",
    ),
    "erp_incorrect_data": Text(
        title="ERP šalje podatke kojima se ne može vjerovati",
        meaning="Odgovor o računu ne kaže ništa ili kaže što ne može biti točno: ID drugog računa, drugi "
        "iznos, knjiženje dvostruko ili promijenjeno.",
        effect="Iz takva se odgovora ništa ne preuzima. Računi o kojima je riječ čekaju ili su zadržani.",
        meanwhile="pita se ponovno u sve duljim razmacima; ostali računi idu dalje",
        action="Usporedite s `billingd reconcile` i `billingd invoices show ID` i zatražite popravak u "
        "Altibizu. Zadržani račun nastavlja s `billingd invoices retry ID`. Kad ga Altibiz nema ili ga je "
        "poništio, može i završiti: s `billingd invoices correct ID` ili `billingd invoices waive ID`.",
        cleared_by="Ispravan odgovor o istom računu; za zadržane: kad nijedan više nije zadržan.",
    ),
    "erp_refused_invoice": Text(
        title="ERP odbija račune",
        meaning="Altibiz odgovara s 400, 413 ili 422. Ako je ključ instanca, odbija sve što mu se nudi.",
        effect="Navedeni su računi zadržani, ostali idu dalje. Ako se odbija sve, sve čeka i ništa nije zadržano.",
        meanwhile="odbijeno se zadržava; gdje se odbija sve, povremeno se isprobava jedan",
        action="Razlog pokazuje `billingd invoices show ID`; popravite matične podatke (`billingd import "
        "master FILE`) ili zatražite popravak u Altibizu. Zadržani račun zatim treba `billingd invoices retry ID` "
        "(isti sadržaj) ili `billingd invoices correct ID` (nova revizija); onaj koji čeka nastavlja sam.",
        cleared_by="Kad nijedan račun razdoblja zbog toga nije zadržan; s instancom kao ključem: kad jedan"
        " bude primljen.",
    ),
    "erp_conflict": Text(
        title="ERP ima račun drugog sadržaja",
        meaning="Altibiz odgovara s 409: taj ID već ima, s drugim sadržajem od našeg.",
        effect="Navedeni su računi zadržani; ništa se ne prepisuje. Ostali idu dalje.",
        meanwhile="ostali idu dalje",
        action="`billingd reconcile` pokazuje oba iznosa, `billingd invoices explain ID` kako je nastao naš: "
        "netko mora reći koji je točan. Ako je naš točan, neka Altibiz svoj ispravi ili ukloni, zatim `billingd "
        "invoices retry ID`. Ako je naš kriv, neka Altibiz svoj ukloni ili poništi, popravite podatke i pokrenite "
        "`billingd invoices correct ID`, što se odbija dok god Altibiz ima svoj.",
        cleared_by="Kad nijedan račun razdoblja zbog toga nije zadržan.",
    ),
    "invoice_aborted": Text(
        title="ERP je poništio račune",
        meaning="Altibiz je račun konačno odbio; razlog je sačuvan uz račun.",
        effect="Navedeni korisnici mreže nemaju valjan račun za razdoblje.",
        meanwhile="više se ništa ne poduzima",
        action="Razlog pokazuje `billingd invoices show ID`; popravite što navodi, zatim `billingd "
        "invoices correct ID`. Ako tako treba ostati, `billingd alarms ack ID`.",
        cleared_by="Samo čovjek: ispravak ili potvrda alarma.",
    ),
    "invoice_overdue": Text(
        title="Računi predugo čekaju",
        meaning="Računi su dulje od `alarms.overdue_seconds` u stanju koje nije konačno, a nijedan drugi "
        "alarm ne kaže zašto.",
        effect="Ti korisnici mreže još nemaju proknjižen račun.",
        meanwhile="pokušava se dalje",
        action="`billingd invoices show ID` kaže što koji čeka. U stanju `calculated` to može biti "
        "odobrenje; u `initiated` odluka Altibiza kasni: nazovite one koji ga vode.",
        cleared_by="Kad i posljednji krene dalje.",
    ),
    "readings_incomplete": Text(
        title="Nedostaju očitanja",
        meaning="Nakon `billing.readings_grace_seconds` računima zatvorenog razdoblja još nedostaju očitanja brojila.",
        effect="Ti računi ostaju u stanju due; ništa se ne procjenjuje i ništa se ne obračunava kao nula.",
        meanwhile="svaki nastavlja sam kad očitanja stignu",
        action="`billingd invoices list --period YYYY-MM --state due` i `billingd invoices show ID` kažu "
        "kojem brojilu što nedostaje; nabavite očitanja i pokrenite `billingd import readings FILE`.",
        cleared_by="Kad i posljednji bude obračunat.",
    ),
    "readings_inconsistent": Text(
        title="Očitanja si proturječe",
        meaning="Nakon `billing.readings_grace_seconds` registar brojila pada unutar zatvorenog razdoblja.",
        effect="Ti računi ostaju u stanju due.",
        meanwhile="svaki nastavlja sam kad se očitanja zamijene",
        action="`billingd invoices show ID` navodi brojilo i trenutak. Utvrdite što je točno (zamjena "
        "brojila, kriva vrijednost) i pokrenite `billingd import readings --replace --reason TEXT FILE`.",
        cleared_by="Kad i posljednji bude obračunat.",
    ),
    "energy_already_billed": Text(
        title="Ista bi energija bila obračunata dvaput",
        meaning="Energija brojila za isto vrijeme već je u drugom računu koji nije poništen: brojilo je nakon njegova "
        "obračuna pripalo drugom korisniku mreže.",
        effect="Navedeni računi ostaju u stanju due; drugi, koji su bili prvi, idu dalje.",
        meanwhile="svaki nastavlja sam kad drugi račun više ne obračunava to brojilo",
        action="`billingd invoices show ID` navodi brojilo i drugi račun. Odlučite tko plaća. Ako su matični "
        "podaci krivi, `billingd import master FILE`. Ako je drugi račun kriv, zamijenite ga ili okončajte: `billingd "
        "invoices correct OTHER` kad je proknjižen ili `billingd invoices waive OTHER` dok nije poslan. Ako ovaj nije "
        "potreban, `billingd invoices waive ID`.",
        cleared_by="Kad i posljednji bude obračunat ili otpisan.",
    ),
    "inputs_unreadable": Text(
        title="Podaci računa ne mogu se pročitati",
        meaning="Baza nije dala očitanja ili matične podatke tih računa: svaki je pokušan sam i nije uspio ili je "
        "trajao dulje od `database.statement_timeout_seconds`.",
        effect="Navedeni računi ostaju u stanju due; svi ostali idu dalje.",
        meanwhile="svaki se pokušava ponovno u sve duljim razmacima",
        action="`billingd invoices show ID` sadrži riječi same baze. Popravite bazu (oštećena stranica ili indeks, "
        "prespora naredba) ili povećajte `database.statement_timeout_seconds`; ostalo pregledava `billingd doctor`.",
        cleared_by="Kad i posljednji bude obračunat.",
    ),
    "poison_invoice": Text(
        title="Rad na računu uvijek iznova ne uspijeva",
        meaning="Tko je radio na tim računima srušio se, zapeo ili ga je odbila baza, `work.max_attempts` "
        "puta, dok su drugi prošli.",
        effect="Navedeni su računi zadržani; svi ostali idu dalje.",
        meanwhile="ostali idu dalje",
        action="`billingd invoices show ID` sadrži grešku: prijavite je kao kvar programa. Nakon "
        "nadogradnje ili izmjene matičnih podataka `billingd invoices retry ID`; ako nikad nije poslan, "
        "`billingd invoices waive ID` ga završava.",
        cleared_by="Kad nijedan račun razdoblja zbog toga nije zadržan.",
    ),
    "delivery_paused": Text(
        title="Slanje u ERP je zaustavljeno",
        meaning="Netko je zaustavio slanje, na primjer zbog održavanja ERP-a; sažetak kaže tko, zašto i do kada.",
        effect="Računi se obračunavaju i čekaju; ERP-u se ništa novo ne nudi i ništa ga se ne pita.",
        meanwhile="slanje se samo nastavlja kad zaustavljanje istekne",
        action="Ako razloga više nema, pokrenite `billingd resume`; ako traje dulje, `billingd pause --for 2h`.",
        cleared_by="Kraj zaustavljanja.",
    ),
    "actor_crashed": Text(
        title="Dio servisa se srušio",
        meaning="Dio billingd-a naišao je na grešku u programu i pokrenut je iznova.",
        effect="Što je imao u rukama uzima se ponovno; ništa nije izgubljeno.",
        meanwhile="dio je pokrenut iznova",
        action="Odmah ništa. Grešku iz sažetka (`journalctl -u billingd` ima njezin trag) prijavite kao "
        "kvar programa; `billingd status` pokazuje ruši li se i dalje.",
        cleared_by="Kad novi dobro radi `supervision.window_seconds`.",
    ),
    "actor_hung": Text(
        title="Dio servisa je zapeo",
        meaning="Dio billingd-a bavio se jednom porukom dulje od `supervision.hang_seconds`, otpisan je i "
        "drugi je na njegovu mjestu.",
        effect="Što je imao u rukama uzima novi; stari više ništa ne može promijeniti.",
        meanwhile="drugi je na njegovu mjestu",
        action="Prijavite kao kvar programa, sa stanjem niti koje `systemctl kill -s USR1 billingd` "
        "zapisuje u dnevnik; `billingd status` pokazuje događa li se opet.",
        cleared_by="Kad novi dobro radi `supervision.window_seconds`.",
    ),
    "daemon_was_down": Text(
        title="Servis nije radio",
        meaning="billingd neko vrijeme nije radio; sažetak kaže koliko dugo, je li završio uredno i što je"
        " zatekao otvoreno.",
        effect="Što je palo u to vrijeme radi se sada: nijedno razdoblje ne izostaje.",
        meanwhile="otvoreno se nastavlja",
        action="Ako ga nitko nije zaustavio, utvrdite zašto je završio: `journalctl -u billingd` prije "
        "pokretanja. Ako završava uvijek iznova, posljednju grešku prijavite kao kvar programa.",
        cleared_by="Kad je obavljeno što je pri pokretanju bilo otvoreno.",
    ),
    "configuration_rejected": Text(
        title="Konfiguracijska datoteka nije prihvaćena",
        meaning="Datoteka na disku ima grešaka ili izmjene koje traže ponovno pokretanje: nije ono što vrijedi.",
        effect="billingd nastavlja s konfiguracijom koju je imao.",
        meanwhile="vrijedi dosadašnja konfiguracija",
        action="`billingd check-config` navodi svaku grešku s retkom; popravite i pokrenite `systemctl "
        "reload billingd`, ili ga ponovno pokrenite gdje sažetak to traži.",
        cleared_by="Sljedeća konfiguracija koja bude prihvaćena.",
    ),
    "instance_name_taken": Text(
        title="Drugi servis ima isto ime",
        meaning="Ime (`instance`) drži druga sesija na istoj bazi: drugi servis ili mrtva sesija u koju "
        "poslužitelj još vjeruje.",
        effect="Ovaj servis još ništa ne radi.",
        meanwhile="pokušava ponovno i počinje čim je ime slobodno",
        action="Ako rade dva servisa, u konfiguraciji svakom dajte njegov `instance`. Inače pričekajte "
        "minutu: poslužitelj će sam uvidjeti da je stara sesija mrtva.",
        cleared_by="Kad ime bude naše.",
    ),
    "unexpected_error": Text(
        title="Greška koju nitko nije predvidio",
        meaning="Servis ili koja njegova knjižnica zapisala je grešku za koju nema ni alarma ni pravila.",
        effect="Nepoznato; kontekst kaže gdje je nastala i koliko često.",
        meanwhile="servis radi dalje",
        action="Zapis pokazuje `journalctl -u billingd -p err`; prijavite ga kao kvar programa. Ako je "
        "bezazlen, dajte mu pravilo pod `alarms.rules`.",
        cleared_by="`alarms.quiet_seconds` bez nove.",
    ),
    "alarm_spool_unwritable": Text(
        title="Alarmi se ne mogu čuvati na disku",
        meaning="Datoteka alarma u `state_dir` ne može se pisati: disk je pun ili to ne dopušta.",
        effect="Alarmi i dalje stižu u dnevnik i bazu; alarm koji stoji mogao bi dobiti drugi ID ako "
        "servis u međuvremenu bude ubijen.",
        meanwhile="obračun i alarmi idu dalje bez nje",
        action="Oslobodite mjesta ili vratite pristup na datotečnom sustavu gdje je `state_dir` (pokazuje "
        "ga `billingd config show`).",
        cleared_by="Sljedeći uspješan zapis.",
    ),
    "alarm_webhook_unreachable": Text(
        title="Alarmi ne stižu na webhook",
        meaning="Alertmanager na `alarms.webhook_url` ne prima alarme.",
        effect="Onaj koga on budi neće se probuditi; dnevnik, baza i `billingd alarms list` imaju sve alarme.",
        meanwhile="pokušava se ponovno u sve duljim razmacima",
        action="Provjerite jesu li adresa (`alarms.webhook_url`) i token (`alarms.webhook_token_file`) "
        "ispravni i radi li Alertmanager.",
        cleared_by="Sljedeća uspješna dostava.",
    ),
}
