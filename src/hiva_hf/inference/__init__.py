"""From photos and videos to tables of Action Units, their smoothing and their events."""
