FROM mcr.microsoft.com/dotnet/sdk:9.0 AS publish
ARG TARGETARCH
WORKDIR /code
COPY Orders/Orders.csproj Orders/
RUN dotnet restore Orders -a $TARGETARCH
COPY Orders/ Orders/
RUN dotnet publish Orders -a $TARGETARCH --no-restore -o /out

FROM mcr.microsoft.com/dotnet/aspnet:9.0
WORKDIR /orders
COPY --from=publish /out .
EXPOSE 8080
USER $APP_UID
ENTRYPOINT ["./Orders"]
