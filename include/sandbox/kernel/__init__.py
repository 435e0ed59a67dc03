"""What both sandbox systems share: an HTTP server that is held to its contract.

In: a contract file and handlers by operationId. Out: an ASGI app with tokens, limits, validation, paging, a clock and
faults. Never: a rule of business; those live in `sandbox.tims` and `sandbox.channel_advisor`.

| module | holds |
|---|---|
| clock | ticks of 100 ns, the clock that can be set |
| store | documents, terms, references, counters in one SQLite file |
| contract | operations, parameters and schemas of the contract, what a value breaks |
| cursor | opaque places in a list |
| oauth | access tokens |
| limits | requests per minute and at once |
| faults | what goes wrong on purpose |
| webhooks | the events of a system, from the change to the subscriber |
| controls | `/_sandbox/...` |
| http | requests, answers, refusals |
| app | the way of a request: `System` (what a system says) and `App` (ASGI) |
| serve | uvicorn on loopback |
"""
