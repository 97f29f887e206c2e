"""The pages: ask a router and watch it think, look at trajectories, trainings and benchmarks (docs/pages.md).

`router-r1 serve` has them at `/`, beside the API; `router-r1 view` serves them alone, for folders. The front end is in
`static/`: ES modules as they are loaded by the browser, without a build step. Python gives it JSON under `/pages/`.
"""
