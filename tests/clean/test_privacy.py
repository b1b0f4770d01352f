"""Masking is judged on a table of cases: what must go, and what only looks like it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mmcore.clean.privacy import mask

PERSONAL = [
    ("Write to jane.doe@example.org", "Write to <EMAIL>"),
    ("mail: info+web@mail.example.co.uk.", "mail: <EMAIL>."),
    ("(o'neil@example.ie)", "(<EMAIL>)"),
    ("post@müller.example", "<EMAIL>"),
    ("anna (at) example.org schreibt", "<EMAIL> schreibt"),
    ("bob [at] example [dot] com", "<EMAIL>"),
    ("a@example.org, b@example.org", "<EMAIL>, <EMAIL>"),
    ("call +49 30 901820 now", "call <PHONE> now"),
    ("Prints: call +1 (555) 010-4477", "Prints: call <PHONE>"),
    ("Abzüge: Tel. 030/1234567", "Abzüge: Tel. <PHONE>"),
    ("Telefon: 08151 99 88 77", "Telefon: <PHONE>"),
    ("ring us on 020 7946 0958", "ring us on <PHONE>"),
    ("0171-2345678", "<PHONE>"),
    ("01 23 45 67 89", "<PHONE>"),
    ("(212) 555-0187", "<PHONE>"),
    ("212.555.0187 is her number", "<PHONE> is her number"),
    ("phone 555-0134", "phone <PHONE>"),
    ("WhatsApp +4915112345678", "WhatsApp <PHONE>"),
    ("0049 171 2345678", "<PHONE>"),
    ("Fax 4433221", "Fax <PHONE>"),
    ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN <IBAN> BIC COBADEFF"),
    ("GB82WEST12345698765432", "<IBAN>"),
    ("FR14 2004 1010 0505 0001 3M02 606", "<IBAN>"),
    ("card 4111 1111 1111 1111", "card <CARD>"),
    ("5500-0000-0000-0004 expires soon", "<CARD> expires soon"),
    ("378282246310005", "<CARD>"),
    ("server at 192.168.10.24", "server at <IP>"),
    ("93.184.216.34 is up", "<IP> is up"),
    ("Host > 93.184.216.34. Next", "Host > <IP>. Next"),
    ("posted from 2001:db8:85a3::8a2e:370:7334", "posted from <IP>"),
    ("Phone: 212-555-0187 x42", "Phone: <PHONE>"),
    ("(+358) 410786954", "<PHONE>"),
    # national numbers, each with its checksum
    ("DNI 12345678Z", "DNI <ID>"),
    ("X1234567L", "<ID>"),
    ("nata a Roma, RSSMRA85T10A562S", "nata a Roma, <ID>"),
    ("n° 2 55 08 14 168 025 38", "n° <ID>"),
    ("id card 11010519491231002X", "id card <ID>"),
    ("AHV 756.1234.5678.97", "AHV <ID>"),
    ("CPF 390.533.447-05", "CPF <ID>"),
    ("henkilötunnus 131052-308T", "henkilötunnus <ID>"),
    ("811228-9874", "<ID>"),
    ("85.07.30-033.28", "<ID>"),
    ("PESEL 44051401359", "PESEL <ID>"),
    ("BSN: 111222333", "BSN: <ID>"),
    ("Steuer-ID 36 574 261 809", "Steuer-ID <ID>"),
    ("her SSN is 536-90-4399", "her SSN is <ID>"),
    ("Aadhaar no. 2341 2341 2346", "Aadhaar no. <ID>"),
    ("SIN 123-456-782", "SIN <ID>"),
    ("NHS number 943 476 5870", "NHS number <ID>"),
    # addresses: a postal code, a flat or a telling word makes one of a street
    ("12 Oak Street, Springfield, IL 62704", "<ADDRESS>"),
    ("Mail to 4 Elm Rd", "Mail to <ADDRESS>"),
    ("350 Fifth Avenue, Apt 5B", "<ADDRESS>"),
    ("7 Mill Lane, Cambridge CB2 1RX, UK", "<ADDRESS>, UK"),
    ("wohnt Hauptstraße 5", "wohnt <ADDRESS>"),
    ("Praxis, Lindenallee 12a, 10115 Berlin", "Praxis, <ADDRESS>"),
    ("15 rue de la Paix, 75002 Paris", "<ADDRESS>"),
    ("Calle Mayor 12, 28013 Madrid", "<ADDRESS>"),
    ("Via Garibaldi 8, 20121 Milano", "<ADDRESS>"),
    ("Keizersgracht 123, 1015 CJ Amsterdam", "<ADDRESS>"),
    ("P.O. Box 1234", "<ADDRESS>"),
]

HARMLESS = [
    "Taken on 2023-11-05 at 14:33",
    "05.11.2023 bis 12.11.2023",
    "The war of 1939-1945",
    "Seasons 1998 1999 2000 2001",
    "1920x1080 px wallpaper",
    "1920 x 1080",
    "ISBN 978-3-16-148410-0",
    "ISBN 0-306-40615-2",
    "ISBN-10: 0306406152",
    "Version 10.0.19041.1288",
    "v2.14.10.3 released",
    "firmware 12.1.0.7",
    "see section 1.2.3.4",
    "3.3.2.15. Receiver operating characteristic",
    "Ensemble methods > 1.11.7.3. Usage",
    "Clustering > 2.3.10.13 Homogeneity",
    "open 08:00 - 17:30",
    "Geöffnet 08.00 - 17.30",
    "population 8 336 817",
    "1,234,567 visitors",
    "€ 1.299,00",
    "price 12 500 000 EUR",
    "Canon EOS 5D, 24-105 mm f/4",
    "48.858370, 2.294481",
    "icon@2x.png",
    "follow @janedoe on the web",
    "look at example.com",
    "0.5 0.25 0.125 0.0625",
    "Inv. 1985.123.45",
    "accession no. 1974.356.12",
    "Art.-Nr. 0815 4711 22",
    "order 4111111111111112",
    "NGC 7000 and M31",
    "AB12 3456 is a number plate",
    "DE00 3704 0044 0532 0130 00",
    "1234567890123456",
    "unix time 1700000000000",
    "12:30:45 lap time",
    "std::vector<int>",
    "scale 1:25000",
    "model 0402 and 0603",
    "3 red circles, 4 blue squares",
    "100 000 000 stars",
    "a 10-20-30 pattern",
    "000000000000",
    "10 11 12 13 14 15 16",
    "EAN 4012345678901",
    "12345678A has the wrong letter",
    "756.1234.5678.98",
    "536-90-43990 is a part",
    "000-12-3456",
    "390.533.447-06",
    "111222333 grains of sand",
    "44051401359 steps",
    "serial 850730-0338",
    "221B Baker Street",
    "10 Downing Street, London",
    "the corner of 34th Street and 8th Avenue",
    "Unter den Linden 77 in Berlin",
    "Platz der Republik 1",
    "Rue de Rivoli, Paris",
    "Route 66 in 1950",
    "Via Appia Antica",
    "Plaza Mayor, 1619",
    "a 2 way street with 30 people",
]


@pytest.mark.parametrize(("text", "expected"), PERSONAL)
def test_personal_data_is_replaced_by_its_kind(text: str, expected: str) -> None:
    masked, counts = mask(pa.array([text]))
    assert masked.to_pylist() == [expected]
    assert counts.to_pylist() == [expected.count("<")]


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_that_only_look_personal_stay(text: str) -> None:
    masked, counts = mask(pa.array([text]))
    assert masked.to_pylist() == [text]
    assert counts.to_pylist() == [0]


def test_a_column_keeps_its_order_and_length() -> None:
    texts = ["plain", "x@example.org", "", "call +49 30 901820"]
    masked, counts = mask(pa.array(texts))
    assert masked.to_pylist() == ["plain", "<EMAIL>", "", "call <PHONE>"]
    assert counts.to_pylist() == [0, 1, 0, 1]
