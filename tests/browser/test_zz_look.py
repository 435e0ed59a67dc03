from __future__ import annotations
import os
from browser.conftest import Console, axe, shot
import pytest

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

def test_look(console: Console) -> None:
    console.shop.sync()
    key = console.query("SELECT l.source_key AS key FROM ops.link l JOIN ref.invoice i ON i.sales_order_id = l.target_id WHERE l.entity = 'sales_order' ORDER BY 1 LIMIT 1")[0].key
    returned = console.query("SELECT order_key AS key FROM stage.credit_memo WHERE order_key IS NOT NULL LIMIT 1")
    letter = console.query("SELECT id FROM ops.dead_letter WHERE state='open' ORDER BY id LIMIT 1")
    where = {"overview": "/", "record": f"/record/order?id={key}", "letters": "/letters", "audit": "/audit", "reconciliation": "/reconciliation", "money": "/money", "approvals": "/approvals", "rules": "/rules"}
    if returned:
        where["record_return"] = f"/record/order?id={returned[0].key}"
    if letter:
        where["letter"] = f"/letters/{letter[0].id}"
    only = os.environ.get("LOOK", "").split(",")
    for name, path in where.items():
        if only != [""] and name not in only:
            continue
        for how, more in {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}.items():
            page = console.open(console.login("admin", **more), path)
            page.wait_for_timeout(400)
            shot(page, f"look_{name}_{how}")
            (open(f"/tmp/look_{name}.txt", "w")).write(page.locator("body").inner_text())
            page.context.close()
