"""Results as one HTML page that can be sent around; see `experiments.report.page.write_report`."""
