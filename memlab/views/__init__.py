"""What a reader sees: tables (`tables`) and figures (`figures`). Views read, and change nothing."""
