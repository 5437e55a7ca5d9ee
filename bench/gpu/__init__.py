"""Measure what a unit of work costs on a GPU, and say how well the cost model predicts what it has not seen.

python -m bench.gpu       one command; stops before its budget and goes on where it was (README.md)

forms         operations of every load, in closed form
dit, vae, encoder, speech, language    the loads: our own code, true dimensions, random weights
loads         a cell of the plan as something that can be run
counting      what torch counts while a load runs, against the closed form
scales, plan  dimensions; the cells, their roles and how long each may take
timing        CUDA events or the clock of the processor; sensors reads clocks, heat and energy
journal       one line for each cell that is done, so that a run can be taken up again
estimator     relative Huber regression with non-negative rates
drivers       what drives the time of a cell: the columns of the regression
registration  predictions, written and hashed before what they predict is run
run           the loop
verdict       errors, acceptance and what may be claimed
page, plot    the report for people; cards drafts rate cards
"""
