"""Who may call: organisations, projects, API keys, and the Caller that a key proves."""

from taximeter.identity.errors import ExpiredApiKey, InvalidAdminKey, InvalidApiKey, RevokedApiKey, Unauthenticated
from taximeter.identity.model import ApiKey, Caller, IssuedKey, KeyLimits, NewProject, Organisation, Project
from taximeter.identity.rules import check_name
from taximeter.identity.service import Identity
from taximeter.identity.store import IdentityStore

__all__ = [
    "ApiKey",
    "Caller",
    "ExpiredApiKey",
    "Identity",
    "IdentityStore",
    "InvalidAdminKey",
    "InvalidApiKey",
    "IssuedKey",
    "KeyLimits",
    "NewProject",
    "Organisation",
    "Project",
    "RevokedApiKey",
    "Unauthenticated",
    "check_name",
]
