"""Amazon IVS: its kinds, operations, rules and stream sessions. Read `registry` first."""
