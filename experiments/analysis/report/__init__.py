"""Results as one HTML page that can be sent around; see `page.write_report`."""
