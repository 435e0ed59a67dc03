"""How a record of the flow holds is made."""

from datetime import timedelta
from itertools import count

from integration.battery import Made, Shop
from integration.builders import forward, sales_order


def held(shop: Shop) -> None:
    """Puts an order on hold in TIMS, as a person there does."""
    act(shop, shop.order_on_stock(), "hold")


def act(shop: Shop, key: str, what: str) -> str:
    """Holds, releases or cancels the sales order of a channel's order in TIMS; its SalesOrderID."""
    number = sales_order(shop.environment, key)["SalesOrderID"]
    body = {} if what == "release" else {"Reason": "A person says so"}
    with shop.environment.runtime() as runtime:
        result = runtime.tims.post(f"/sales-orders/{number}/{what}", body, key=f"{what}:{number}:{next(_calls)}")
    assert result.status == 200, result.error
    forward(shop.environment, shop.environment.now + timedelta(minutes=1))
    return number


_calls = count(1)
MADE = {"holds": Made(held, waits="test_holds.py")}
