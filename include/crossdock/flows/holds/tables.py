"""The stage table of holds: the target paths of its mapping, and what else a row keeps."""

from sqlalchemy import Column, Text

from crossdock.store.registry import stage_table

STAGE = stage_table(
    "hold",
    Column("target_key", Text, index=True, comment="ChannelAdvisorOrderID"),
    mapping="holds",
    comment="One sales order of TIMS as the channel should know its status; the key is its SalesOrderID",
)
