"""The error responses of the emulator: one table of known responses, one of inferred ones."""

from typing import Any, Final

ERROR_PAGE: Final = "https://www.twilio.com/docs/errors/{code}"

# Documented by Twilio, or observed: status, code, message.
KNOWN: Final[dict[str, tuple[int, int, str]]] = {
    "parameter_missing": (400, 20001, "Missing required parameter {name} in the post body"),
    "page_without_token": (400, 70002, "Paged requests must include a PageToken"),
    "wrong_secret": (401, 20003, "Authenticate"),
    "wrong_user": (401, 20003, "Authentication Error - invalid username"),
    "not_found": (404, 20404, "The requested resource {path} was not found"),
    "too_many_requests": (429, 20429, "Too many concurrent requests"),
    "internal_error": (500, 20500, "An internal server error has occurred"),
}

# Not verified against the service. Correct an entry here once its real response is known.
INFERRED: Final[dict[str, tuple[int, int, str]]] = {
    # The status or the message is documented, the code is not.
    "method_not_allowed": (
        405,
        20004,
        "The requested resource {path} does not support the attempted HTTP method {method}",
    ),
    "usage_not_partner": (403, 20403, "The account is not the partner of this Add-on"),
    "usage_not_manual": (403, 20403, "The Add-on is not set up for manual usage reporting"),
    "usage_stage": (403, 20403, "The Add-on is not in Marketing Preview, Private Beta or Active"),
    "usage_quantity": (400, 20001, "The quantity of a billable item must be greater than 0"),
    "account_inactive": (403, 20403, "The account is {status}"),
    # Nothing is documented.
    "subaccount_owner": (403, 20403, "A subaccount cannot have subaccounts"),
    "own_status": (403, 20403, "An account cannot change its own status"),
    "account_closed": (400, 20001, "Account {sid} is closed and cannot be reopened"),
    "grant_type": (400, 20001, "grant_type must be client_credentials"),
    "parameter_invalid": (400, 20001, "Invalid value for parameter {name}: {why}"),
    "terms": (400, 20001, "AcceptTermsOfService must be true"),
    "configuration": (400, 20001, "Configuration does not match the schema of the Add-on: {why}"),
    "unique_name": (409, 20409, "UniqueName {name} is already in use on this account"),
    "page_size": (400, 20007, "PageSize must be between 1 and 1000"),
    "page_token": (400, 21481, "Invalid PageToken"),
    "unknown_add_on": (404, 20404, "Add-on {sid} was not found"),
    "not_owner": (403, 20403, "The account does not own this listing"),
    "body": (400, 20001, "Invalid request body: {why}"),
    "body_too_large": (413, 20413, "The request body is too large"),
}


class ErrorResponse(Exception):
    """Ends a request with an error response from the tables above."""

    status: int
    code: int
    message: str

    def __init__(self, name: str, /, details: Any = None, **values: object) -> None:
        super().__init__(name)
        self.status, self.code, message = (KNOWN | INFERRED)[name]
        self.message = message.format(**values)
        self.details = details

    @property
    def body(self) -> dict[str, Any]:
        return error_body(self.status, self.code, self.message, self.details)


def error_body(status: int, code: int, message: str, details: Any = None) -> dict[str, Any]:
    """Return an error document in Twilio's format."""
    body: dict[str, Any] = {
        "code": code,
        "message": message,
        "more_info": ERROR_PAGE.format(code=code),
        "status": status,
    }
    return body if details is None else {**body, "details": details}
