"""Change the service's code at random places, run the tests of each place, and list the changes that no test notices.

    make mutants N=200 [SEED=7] [TIERS=unit] [ONLY="app/retention app/queue/index.py"] [JOBS=4]

A change is that of one operator, `not` or sign in `app/` or `handlers/`. First those of the tests that need no server
run that run the changed line; if they do not notice it, then the integration tests that do. All tests run in copies of
the working tree. A test that fails without a change takes no part. A change that makes a test endless is noticed. Which
lines only child processes run is not known: the unit tests of the engines run most of those themselves.
"""
