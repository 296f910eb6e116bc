"""h2oGPT's named endpoints, so that its clients and other relays can call the page."""
