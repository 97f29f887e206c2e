"""The paper's findings in the small: the trainings that each needs, and whether it holds in them.

finding.py      what a finding is
catalogue.py    the findings: what is asked, which runs answer it, and how they are read
unseen.py       the one about candidates that no training has met
work.py         one training or one benchmark with one seed: its folder, its command, whether it is done
schedule.py     the order, the budget, and the runs themselves, one child process after another
reading.py      what finished runs came to
verdicts.py     when a finding holds
other_deals.py  question files that deal a trained router what it was not trained on
report.py       tables, pictures and verdicts as one page
"""
