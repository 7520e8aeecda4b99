"""Model servers: started once, shared by everything, never left behind."""
