from shop import PRICES, total


def test_an_order_costs_the_sum_of_its_prices() -> None:
    assert total(["tea", "tea", "cake"]) == 2 * PRICES["tea"] + PRICES["cake"]


def test_nothing_is_free() -> None:
    assert all(price > 0 for price in PRICES.values())
