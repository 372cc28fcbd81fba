"""The debug route: who may ask, what is passed on, and that its description tells the truth."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI

from apollo.storage.database import Database
from apollo.usecases.authenticate import Principal
from apollo.usecases.explain_batch import ExplainBatch
from apollo.web.debug import DebugAnswer, debug_router
