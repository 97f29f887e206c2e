"""What a training needs before it starts: memory of GPUs and hosts, disk, routes, money, time.

Nothing here was checked on a GPU. What is counted, and what is only believed, stands in docs/plan.md.
"""
