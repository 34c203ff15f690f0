"""Money: text to integer nano-dollars and back.

A nano-dollar is 1e-9 USD. Everything inside counts in them, as Python integers; decimals exist only here, at
the edges. A window's maximum stays below 2**53, because the counter store computes with doubles.
"""

from decimal import Context, Decimal, Inexact, InvalidOperation

NANO = 10**9
AMOUNT_MAX = 2**53 - 1
"""Largest amount that one window can count: 9,007,199.254740991 USD, or as many tokens or requests."""

USD_MAX = Decimal(AMOUNT_MAX).scaleb(-9)

# Python's default context rounds to 28 digits without a word: 1 USD with a trailing 1 far behind would pass as 1 USD.
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation])
_NANO_DOLLAR = Decimal("1e-9")


class MoneyError(ValueError):
    """The text is not an amount of dollars that can be counted; the message says what is allowed."""


def nanousd_from_usd(value: object) -> int:
    """Nano-dollars of an amount in dollars, exactly.

    `value` is a Decimal, an int or a text; a float is read by its shortest text, as JSON wrote it.
    Raises MoneyError for anything else, for NaN and infinity, for negative amounts, for more than nine
    decimals, and for more than USD_MAX.
    """
    amount = _decimal(value)
    if not amount.is_finite():
        raise MoneyError(f"{amount} is not a finite amount; allowed is 0 to {USD_MAX} USD")
    if not 0 <= amount <= USD_MAX:
        raise MoneyError(f"{amount} is out of range; allowed is 0 to {USD_MAX} USD")
    try:
        return int(_EXACT.quantize(amount, _NANO_DOLLAR).scaleb(9, context=_EXACT))
    except Inexact:
        message = f"{amount} has more than 9 decimals; the smallest amount is 0.000000001 USD"
        raise MoneyError(message) from None


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise MoneyError(f"{value!r} is not a number; allowed is 0 to {USD_MAX} USD")
    try:
        if isinstance(value, str) and ("_" in value or not value.isascii()):
            raise InvalidOperation  # Decimal reads 1_5 as 15, and digits of any script
        return Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise MoneyError(f"{value!r} is not a number; allowed is 0 to {USD_MAX} USD") from None


def exact_usd(nanousd: int) -> str:
    """Exact dollars as text, without trailing zeros but with at least one decimal: `10.0`, `0.00022`."""
    whole, part = divmod(abs(nanousd), NANO)
    text = f"{whole}.{part:09d}".rstrip("0")
    return f"{'-' if nanousd < 0 else ''}{text}{'0' if text[-1] == '.' else ''}"


def usd_from_nanousd(nanousd: int) -> Decimal:
    """Exact dollars, with the decimals of `exact_usd`."""
    return Decimal(exact_usd(nanousd))


def usd_text(nanousd: int, *, places: int) -> str:
    """Dollars for people, rounded half up to at most nine `places`: `$10.00`, `-$0.3000`."""
    unit = 10 ** (9 - places)
    rounded = (abs(nanousd) + unit // 2) // unit
    whole, part = divmod(rounded, 10**places)
    sign = "-" if nanousd < 0 and rounded else ""
    return f"{sign}${whole}.{part:0{places}d}" if places else f"{sign}${whole}"
