"""What a server is: the command, when it is ready, and what is said when it does not start."""
