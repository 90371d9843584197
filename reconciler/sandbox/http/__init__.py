"""The transports of the sandbox: a socket server, botocore without a socket, the control API over HTTP, and the pages. Read `server` first."""
