"""The currencies that a tariff may name: ISO 4217, with the decimals of their coins.

Metals, funds, test codes and "no currency" (``XAU``, ``CLF``, ``XTS``, ``XXX`` ...) are left out: nobody is paid in them.
"""

from collections.abc import Mapping

from taximeter.kernel.units import format_nano

_BY_DECIMALS: Mapping[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK"
        " DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP"
        " LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD"
        " RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD"
        " XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}

MINOR_UNITS: Mapping[str, int] = {code: decimals for decimals, codes in _BY_DECIMALS.items() for code in codes.split()}
"""Decimals of the smallest coin, by currency."""


def money_text(amount_nano: int, currency: str) -> str:
    """An amount for people: all its decimals, and at least those of the currency's coins (``0.30`` USD, ``45`` JPY, ``0.092`` KWD)."""
    return format_nano(amount_nano, MINOR_UNITS.get(currency, 2))
