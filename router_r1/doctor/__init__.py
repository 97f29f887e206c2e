"""What a training needs of a machine, checked: one small function for each check, none of which changes anything.

`check` says what a check comes to, `machine` looks at hardware and system with nothing but the standard library (the
set-up runs it before anything is installed), `environment` at packages and GPU kernels, `processes` lets two processes
exchange what a training exchanges, `cluster` asks every node of a Ray cluster, `candidates` looks at keys and limits,
`report` shows all of it without secrets.
"""
