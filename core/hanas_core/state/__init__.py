"""The state that the committed log describes, and how writes are judged against it."""
