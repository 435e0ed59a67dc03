"""Real towns with valid postal codes, for every country that the transactions name.

In: a country as the data spell it. Out: its ISO code, the locale of its names, and towns with codes and regions.
Never: a real person's address; street names and house numbers are made up elsewhere.

A postal pattern is read by `chance.fill`: `#` a digit, `+` a digit but 0, `@` a letter.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox import chance


@dataclass(frozen=True)
class City:
    name: str
    region: str | None
    postal: str | None  # pattern


@dataclass(frozen=True)
class Country:
    iso: str | None  # None: no ISO list has it
    locale: str  # of Faker
    cities: tuple[City, ...]
    regions: tuple[tuple[str, str], ...] = ()  # (code, name), where sites now and then spell the name out

    def region_name(self, code: str | None) -> str | None:
        return dict(self.regions).get(code or "", code)


def _cities(text: str) -> tuple[City, ...]:
    """`City/Region=pattern; …` — region and pattern may be missing."""
    cities = []
    for part in text.split(";"):
        place, _, postal = part.strip().partition("=")
        city, _, region = place.partition("/")
        cities.append(City(city, region or None, postal or None))
    return tuple(cities)


UNITED_KINGDOM = _cities(
    "London=E1 #@@; London=N7 #@@; London=SW9 #@@; London=SE15 #@@; London=W12 #@@; London=NW6 #@@; London=EC1V #@@;"
    "Birmingham=B13 #@@; Birmingham=B29 #@@; Manchester=M14 #@@; Manchester=M20 #@@; Leeds=LS6 #@@; Leeds=LS17 #@@;"
    "Sheffield=S10 #@@; Liverpool=L17 #@@; Bristol=BS6 #@@; Bristol=BS8 #@@; Newcastle upon Tyne=NE2 #@@;"
    "Nottingham=NG7 #@@; Leicester=LE2 #@@; Coventry=CV5 #@@; Brighton=BN2 #@@; Portsmouth=PO5 #@@; Oxford=OX4 #@@;"
    "Cambridge=CB4 #@@; Norwich=NR2 #@@; Ipswich=IP4 #@@; Exeter=EX4 #@@; Plymouth=PL4 #@@; Truro=TR1 #@@;"
    "Bath=BA2 #@@; Cheltenham=GL50 #@@; Swindon=SN1 #@@; Reading=RG4 #@@; Guildford=GU2 #@@; Canterbury=CT2 #@@;"
    "Edinburgh=EH9 #@@; Edinburgh=EH12 #@@; Glasgow=G12 #@@; Glasgow=G41 #@@; Aberdeen=AB25 #@@; Dundee=DD2 #@@;"
    "Inverness=IV2 #@@; Cardiff=CF24 #@@; Swansea=SA2 #@@; Aberystwyth=SY23 #@@; Belfast=BT9 #@@; York=YO10 #@@;"
    "Harrogate=HG1 #@@; Durham=DH1 #@@; Carlisle=CA3 #@@; Lancaster=LA1 #@@; Preston=PR2 #@@; Chester=CH2 #@@;"
    "Stoke-on-Trent=ST4 #@@; Derby=DE22 #@@; Lincoln=LN2 #@@; Peterborough=PE3 #@@; Colchester=CO3 #@@;"
    "Llanfairpwllgwyngyll/Gwynedd=LL61 #@@; Stow-on-the-Wold/Gloucestershire=GL54 #@@; Hay-on-Wye/Powys=HR3 #@@"
)

COUNTRIES: dict[str, Country] = {
    "United Kingdom": Country("GB", "en_GB", UNITED_KINGDOM),
    "EIRE": Country(
        "IE",
        "en_IE",
        _cities("Dublin=D04 X285; Dublin=D08 VF8H; Cork=T12 RHK3; Galway=H91 E2R8; Limerick; Sligo; Kilkenny; Ennis"),
    ),
    "Channel Islands": Country("JE", "en_GB", _cities("St Helier=JE2 #@@; St Brelade=JE3 #@@; St Saviour=JE2 #@@")),
    "Unspecified": Country(None, "en_GB", UNITED_KINGDOM),
    "European Community": Country(None, "en_GB", _cities("Brussels=10##; Luxembourg=1###")),
    "Germany": Country(
        "DE",
        "de_DE",
        _cities(
            "Berlin=104##; Berlin=109##; München=803##; Köln=506##; Düsseldorf=402##; Hamburg=203##; Würzburg=970##;"
            "Göttingen=370##; Nürnberg=904##; Frankfurt am Main=603##; Münster=481##; Dresden=010##; Lübeck=235##"
        ),
    ),
    "France": Country(
        "FR",
        "fr_FR",
        _cities(
            "Paris=7500+; Paris=7501#; Lyon=6900+; Marseille=1300+; Besançon=25000; Orléans=45000; Nîmes=30000;"
            "Saint-Étienne=42000; Bordeaux=33000; Angoulême=16000; Châlons-en-Champagne=51000; Sète=34200"
        ),
    ),
    "Australia": Country(
        "AU",
        "en_AU",
        _cities(
            "Sydney/NSW=20##; Newtown/NSW=2042; Melbourne/VIC=30##; Perth/WA=60##; Brisbane/QLD=40##; Hobart/TAS=70##"
        ),
        (("NSW", "New South Wales"), ("VIC", "Victoria"), ("QLD", "Queensland")),
    ),
    "Spain": Country(
        "ES",
        "es_ES",
        _cities(
            "Madrid/M=280##; Barcelona/B=080##; Sevilla/SE=410##; Málaga/MA=290##; Valencia/V=460##;"
            "A Coruña/C=150##; Cádiz/CA=110##"
        ),
        (("M", "Madrid"), ("B", "Barcelona"), ("SE", "Sevilla"), ("MA", "Málaga")),
    ),
    "Netherlands": Country(
        "NL",
        "nl_NL",
        _cities("Amsterdam=10## TB; Rotterdam=30## JK; Utrecht=35## GE; 's-Hertogenbosch=52## HN; Delft=26## CA"),
    ),
    "Portugal": Country("PT", "pt_PT", _cities("Lisboa=1250-0##; Porto=4050-1##; Coimbra=3000-1##; Évora=7000-5##")),
    "Belgium": Country("BE", "nl_BE", _cities("Brussel=10##; Antwerpen=20##; Gent=90##; Liège=40##; Namur=50##")),
    "Italy": Country(
        "IT",
        "it_IT",
        _cities("Roma/RM=001##; Milano/MI=201##; Torino/TO=101##; Napoli/NA=801##; Firenze/FI=501##; Forlì/FC=471##"),
        (("RM", "Roma"), ("MI", "Milano"), ("TO", "Torino")),
    ),
    "Switzerland": Country(
        "CH", "de_CH", _cities("Zürich=80##; Genève=12##; Bern=30##; Neuchâtel=20##; St. Gallen=90##")
    ),
    "Sweden": Country(
        "SE", "sv_SE", _cities("Stockholm=114 ##; Göteborg=413 ##; Malmö=211 ##; Umeå=903 ##; Örebro=702 ##")
    ),
    "Finland": Country("FI", "fi_FI", _cities("Helsinki=005##; Tampere=331##; Jyväskylä=401##; Hämeenlinna=131##")),
    "Israel": Country("IL", "he_IL", _cities("Tel Aviv-Yafo=61####0; Jerusalem=91####0; Haifa=31####0")),
    "Cyprus": Country("CY", "el_CY", _cities("Λευκωσία=10##; Λεμεσός=30##; Πάφος=80##; Λάρνακα=60##")),
    "Poland": Country(
        "PL", "pl_PL", _cities("Warszawa=00-###; Łódź=90-###; Kraków=30-###; Wrocław=50-###; Gdańsk=80-###")
    ),
    "Greece": Country("GR", "el_GR", _cities("Αθήνα=106 ##; Θεσσαλονίκη=546 ##; Πάτρα=262 ##")),
    "Hong Kong": Country(
        "HK", "en_GB", _cities("Tsim Sha Tsui/Kowloon; Central/Hong Kong Island; Sha Tin/New Territories")
    ),
    "Singapore": Country("SG", "en_GB", _cities("Singapore=5460##; Singapore=3081##; Singapore=4086##")),
    "Iceland": Country("IS", "is_IS", _cities("Reykjavík=101; Akureyri=600; Hafnarfjörður=220")),
    "Lebanon": Country("LB", "en_GB", _cities("Beirut=2038 3054; Beirut=1107 2810; Tripoli=1300")),
    "Norway": Country("NO", "no_NO", _cities("Oslo=01##; Bergen=50##; Tromsø=90##; Ålesund=60##")),
    "Japan": Country(
        "JP",
        "ja_JP",
        _cities("世田谷区/東京都=154-00##; 渋谷区/東京都=150-00##; 大阪市/大阪府=530-00##; 京都市/京都府=600-80##"),
    ),
    "Denmark": Country("DK", "da_DK", _cities("København=1###; Aarhus=80##; Odense=50##; Hørsholm=2970")),
    "Austria": Country("AT", "de_AT", _cities("Wien=10+0; Graz=80##; Linz=40##; Sankt Pölten=31##")),
    "Canada": Country(
        "CA",
        "en_CA",
        _cities("Toronto/ON=M5V 2H#; Montréal/QC=H3Z 2Y#; Victoria/BC=V8X 3X#; Calgary/AB=T2P 1J#"),
        (("ON", "Ontario"), ("QC", "Québec"), ("BC", "British Columbia"), ("AB", "Alberta")),
    ),
    "USA": Country(
        "US",
        "en_US",
        _cities(
            "Albany/NY=122##; Reno/NV=895##; San José/CA=951##; Austin/TX=787##; Portland/OR=972##; Boston/MA=021##"
        ),
        (("NY", "New York"), ("CA", "California"), ("TX", "Texas"), ("OR", "Oregon")),
    ),
    "Malta": Country("MT", "en_GB", _cities("Valletta=VLT 1###; Sliema=SLM 1###; Naxxar=NXR 0+")),
    "Lithuania": Country("LT", "lt_LT", _cities("Vilnius=01###; Kaunas=44###; Klaipėda=91###; Šiauliai=76###")),
    "Bahrain": Country("BH", "en_GB", _cities("Manama=317; Muharraq=205")),
    "United Arab Emirates": Country("AE", "en_GB", _cities("Dubai/Dubai; Abu Dhabi/Abu Dhabi; Sharjah/Sharjah")),
    "Czech Republic": Country("CZ", "cs_CZ", _cities("Praha=1+0 00; Brno=602 00; Ústí nad Labem=400 01; Plzeň=301 00")),
    "Saudi Arabia": Country("SA", "en_GB", _cities("Riyadh=115##; Jeddah=214##")),
    "Brazil": Country(
        "BR",
        "pt_BR",
        _cities("São Paulo/SP=01310-###; Rio de Janeiro/RJ=22070-###; Brasília/DF=70002-###"),
        (("SP", "São Paulo"), ("RJ", "Rio de Janeiro")),
    ),
    "RSA": Country("ZA", "en_GB", _cities("Cape Town=80##; Durban=40##; Johannesburg=20##")),
}


def draw_address(country: str, *key: object) -> tuple[City, str | None]:
    """A town of the country and one of its postal codes."""
    city = chance.pick(COUNTRIES[country].cities, "town", *key)
    return city, None if city.postal is None else chance.fill(city.postal, "postal", *key)
