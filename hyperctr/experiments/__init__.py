"""Many runs: sweeps, searches, their results and reports, and the demo. Knows no paper."""
