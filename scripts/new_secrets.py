"""Print the secrets that deploy/compose.yaml demands, new and random, as lines of an .env file."""

import secrets
import sys

NAMES = ("APOLLO_POSTGRES_PASSWORD", "APOLLO_JAMBONZ_API_KEY", "APOLLO_JAMBONZ_WEBHOOK_SECRET")

if __name__ == "__main__":
    sys.stdout.writelines(f"{name}={secrets.token_urlsafe(32)}\n" for name in NAMES)
