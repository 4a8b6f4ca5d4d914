"""How the theme's own pages write dates and times: as all the others do."""
