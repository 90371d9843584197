"""The path that every verb and the controller share: load the spec, survey the targets, carry out a plan, remember it. No terminal, no question, no arguments of a command line."""
