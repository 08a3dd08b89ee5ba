"""Backups: HANasBackup and HANasScheduledBackup resources, and the restoring of a new HANas."""
