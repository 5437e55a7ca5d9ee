"""Crash tests: real processes are killed under load, and the books are compared with what the clients were told.

__main__          the command: plan, strike, compare, print, keep
plan              which kills, in which order, from a seed
campaign          carries the kills out and waits for recovery
moments           brings about moments inside the database: a posting that waits, a checkpoint
power             a power cut: what was not fsynced of the write-ahead log is gone
system            PostgreSQL, two gateways and a worker: started, frozen, killed, started again
engines           the upstream and the engine host that the system calls, played by the harness
clients           concurrent clients that send, resend, and write down what they were told
acknowledgements  the file they write it in, outside of the system
audit             what the books say, against that file
sabotage          the product with a bug, which the audit must find
report            tables
"""
