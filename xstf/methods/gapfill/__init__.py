"""Gap filling: clouds and missing dates, with radar where there is some."""
