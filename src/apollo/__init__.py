"""Apollo: outbound calling campaigns that never call twice and can always say why they wait."""

__version__ = "0.1.0"
