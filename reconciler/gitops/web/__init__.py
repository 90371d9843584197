"""What the controller serves on its one port: health, metrics, pages for people, and three requests that need a token."""
