"""Who asks for what: the rule, the annotations, the config file, and the settings that come of them."""
