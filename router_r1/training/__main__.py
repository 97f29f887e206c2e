from router_r1.training.main import main

raise SystemExit(main())
