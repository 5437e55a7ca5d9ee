"""Benchmarks: each prints ratios and spread, none of them is a test.

gateway        requests/s and latency: bare pass-through, gateway without books, gateway with durable books
startup        seconds from `make run` to the first 200 of /readyz
ledger         holds and settlements a second, against one transaction per transfer
peers          requests/s, latency and memory: our gateway, LiteLLM proxy, Portkey gateway
memory         the memory of every process over a million requests
tokenizers     counting fresh texts, ours against each library's own count
soak           ten minutes of holds and settlements: does anything slow down, grow or stay behind
meters         estimates a second of every meter, on one core
fairness       who waits how long beside one who wants everything: the fair queue, FIFO, strict priority
results        the figures of the latest runs, kept in bench/results/
gpu/           seconds of work on a GPU, and how well the cost model predicts them: `make gpu`
crash/         is a test: processes are killed under load, and nothing may be lost, doubled or stuck

contenders     what `gateway` compares, each a process of its own
passthrough    a bare proxy: Starlette and aiohttp on uvicorn
bookless       our gateway process, with a book in memory instead of the ledger
mock_upstream  an OpenAI-compatible server that answers as fast as Python can
load           a closed-loop HTTP client that is faster than what it measures
product        `taximeter serve` in a folder of its own, with a project, a key and a wallet
fair_disciplines  the queues that `fairness` compares, on a virtual clock
fair_run       the queue in PostgreSQL, with callers in four processes
naive          the ledger as one would write it first
installs       the peers, each in an environment of its own
processes      start, await and stop; CPU seconds and memory used
figures        medians, spreads, tables, the machine
pictures       line charts as SVG
"""
