from router_r1.training.supervision import main

raise SystemExit(main())
