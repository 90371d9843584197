"""What the sandbox remembers: worlds (an account and region each), in memory or in a database, their calls and events. Read `world` first."""
