"""Change the service's code at random places, run the tests of each place, and list the changes that no test notices.

    make mutants N=200 [SEED=7] [TIERS=unit] [ONLY="app/tasks/retention app/tasks/queue/index.py"] [JOBS=4]

A change alters one operator, `not` or sign in `app/` or `handlers/`. First run the tests without servers that execute
the changed line; if none of them fails, the integration tests that execute it. All tests run in copies of the working
tree. A test that fails without any change is not run. A change that makes a test endless counts as noticed. Lines that
only child processes execute are not recorded; the unit tests of the engines execute most of them in their own process.

Why not mutmut 3.8, which selects tests by function: it changes nothing outside functions and in decorated ones, which
are 13 % of these places and every handler; half of its survivors are texts of logs and errors; and tests that read the
source fail on its copy. Why not cosmic-ray 8.7: it runs the same tests for each change.
"""
