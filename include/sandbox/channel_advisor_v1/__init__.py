"""Channel Advisor's REST v1 (OData), held to `include/contracts/channel_advisor_v1_schema.json`.

In: HTTP requests below `/v1/` and of OAuth. Out: the state of `sandbox.channel_advisor`, read and written in v1's
words. Never: a state of the world of its own; what v1 has and the facade has not (notes, labels, requests on their way)
is kept beside it. `docs/channel-advisor-v1.md` says how a document carries the facade's fields.

| module | holds |
|---|---|
| schema | names, types and nullability of the metadata model |
| odata | $filter: read, checked against the types, evaluated |
| options | the other query options, with what is nested in $expand |
| documents | the facade's documents as v1's; pure functions |
| nodes | documents and what hangs on them, read from the store |
| sets | the entity sets: candidates of a filter, order, keys |
| lists | pages, links, cut collections |
| face | routes, refusals, tokens' scopes, single documents |
| bodies | bodies of writes, held to the model |
| orders, adjustments, products | the writes |
| batch | `$batch` |
| jobs, exports, uploads | ProductExport and ProductUpload |
| metadata | `$metadata` |
| oauth | consent, codes, identity, refresh tokens that die |
| server | both dialects over one state; which of them is served |
"""
