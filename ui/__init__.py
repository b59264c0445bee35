"""The page: a dense model and its pruned twin side by side. `ui.page.build_page` puts it together over an `Engine`."""
