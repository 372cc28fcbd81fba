"""The names under which people know the columns of a list, in the usual languages.

Owns which names mean the same. Must never choose between two columns: `list_header` does.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final

from apollo.core.typed_numbers import without_invisible


def key_of(name: str) -> str:
    """Give a name without capitals, accents, spaces and signs: `Phone 1 - Value` → phone1value."""
    folded = unicodedata.normalize("NFKD", without_invisible(name).casefold())
    return "".join(c for c in folded if c.isalnum() or unicodedata.category(c) == "Mc")


def _keys(names: str) -> frozenset[str]:
    return frozenset(map(key_of, names.split()))


# The column that holds the number; the first of these that the header has, as it is written here.
NUMBER_COLUMNS: Final = ("phone_number", "mobile_number", "phone")
# Other names of the number's column, without spaces, signs, accents and capitals: English, German,
# French, Spanish, Portuguese, Italian, Dutch, Hindi, and what CRMs and dialers write.
NUMBER_KEYS: Final = _keys(
    """
    phonenumbers phoneno phonenum phonenr phone1 phone1value phonenumber1 primaryphone
    primaryphonenumber homephone workphone businessphone officephone customerphone
    customerphonenumber contactphone contactphonenumber contactnumber contactno contactnum
    calleenumber calleephone tonumber recipientphone leadphone clientphone userphone
    mobile mobileno mobilenum mobilenr mobilephone mobilephonenumber mobile1 mob mobno mobnumber
    cell cellno cellnumber cellphone cellphonenumber cellular handphone
    telephone telephoneno telephonenumber telephone1 tel telno telnr telnumber tel1
    msisdn whatsapp whatsappnumber whatsappno e164 phonee164 number dialnumber callnumber
    telefon telefonmobil telefonhandy telefonprivat
    telefonnummer telefonnr telefon1 telnummer rufnummer rufnr handy handynummer handynr
    mobil mobilnummer mobilnr mobiltelefon mobilfunk mobilfunknummer mobilrufnummer festnetz
    festnetznummer kontaktnummer
    numero ndetelephone ntelephone ndetel nodetelephone
    numerodetelephone numerotelephone numerodetel numtel numerotel notel notelephone
    telephoneportable telephonemobile portable numeroportable numerodeportable telportable
    telephonefixe gsm
    telefono telefono1 numerodetelefono numerotelefono numtelefono notelefono nrodetelefono
    movil telefonomovil numeromovil numerodemovil celular numerocelular numerodecelular
    telefonocelular tlf tlfno
    telefone telefone1 numerodotelefone numerodetelefone numerotelefone telemovel numerodetelemovel
    numerodotelemovel telefonecelular celulartelefone nrtelefone
    cellulare numerocellulare numerodicellulare numeroditelefono telefonocellulare recapito
    recapitotelefonico
    telefoon telefoonnummer telefoonnr mobiel mobielnummer mobielenummer mobieltelefoonnummer
    gsmnummer nummer
    phonenambar mobilenambar mobailnambar mobailnumber phonesankhya mobilesankhya dooradhwani
    durbhash doorbhash samparknumber samparksankhya फोननंबर मोबाइलनंबर मोबाइल फोन संपर्कनंबर
    """
)
# A calling code in a column of its own, and a country by its name.
CODE_KEYS: Final = _keys(
    """
    phonecode countrycode phonecountrycode dialcode dialingcode diallingcode callingcode
    countrycallingcode isdcode isd landesvorwahl laendervorwahl landervorwahl landeskennzahl
    indicatif indicatifpays codigopais codigodepais codigodopais codpais prefijopais ddi
    prefissointernazionale landcode landnummer landnetnummer
    """
)
COUNTRY_KEYS: Final = _keys(
    """
    country countryname countryregion phonecountry countryiso countryiso2 iso2 land pays pais
    paese nazione desh
    """
)


# The code of a town or an operator in a column of its own; under `indicatif` or `prefijo` may stand
# the calling code of a country as well, with a plus or 00.
AREA_KEYS: Final = _keys(
    """
    vorwahl ortsvorwahl vorwahlnummer ortsnetz ortsnetzkennzahl telefonvorwahl vorwahlnr
    areacode phoneareacode phonearea telareacode citycode stdcode std npa trunkcode
    indicatifregional prefixe prefixeregional
    prefijo prefijotelefonico prefijolocal codigodearea codigoarea codarea codigodeciudad
    caracteristica lada ddd codigoddd prefixo codigolocal
    prefisso prefissotelefonico netnummer kengetal zonenummer riktnummer retningsnummer
    """
)


def has_number_column(names: Sequence[str]) -> bool:
    """Tell whether one of the names is known as that of a number's column."""
    keys = {key_of(name) for name in names}
    return bool(keys & (NUMBER_KEYS | {key_of(name) for name in NUMBER_COLUMNS}))
