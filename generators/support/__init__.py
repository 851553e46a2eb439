"""What tasks are written with: words, people, graphs, layouts, schedules; no task is in here."""
