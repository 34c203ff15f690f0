"""The ASGI application that the gateway's server runs."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "budgetgate.settings")

application = get_asgi_application()
