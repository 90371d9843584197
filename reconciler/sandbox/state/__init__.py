"""What the sandbox stores: worlds (an account and region each), in memory or in a database, their calls and events. Read `world` first."""
