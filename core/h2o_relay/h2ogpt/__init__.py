"""What h2oGPT's users bring along that is answered, and not used."""
